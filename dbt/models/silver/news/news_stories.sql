with

articles as (
    select * from {{ ref('stg_ph_news__articles') }}
),

addressed_articles as (
    select
        article_id,
        {{ normalised_url('article_url') }} as normalised_url,
        {{ url_site('article_url') }} as source_site,
        outlet,
        category,
        title,
        author,
        article_url,
        published_at,
        first_seen_at,
        last_seen_at,
    from articles
    where not is_deleted
),

-- The row that was seen first speaks for the story.
first_articles as (
    select
        normalised_url,
        source_site,
        outlet,
        category,
        title,
        author,
        article_url,
    from addressed_articles
    where true
    qualify
        row_number() over (
            partition by normalised_url order by first_seen_at, article_id
        ) = 1
),

stories as (
    select
        normalised_url,
        count(*) as article_count,
        count(distinct outlet) as outlet_count,
        count(distinct category) as category_count,
        min(published_at) as published_at,
        min(first_seen_at) as first_seen_at,
        max(last_seen_at) as last_seen_at,
    from addressed_articles
    group by normalised_url
),

final as (
    select
        stories.normalised_url,

        first_articles.source_site,
        first_articles.outlet,
        coalesce(first_articles.category, 'unknown') as category,
        first_articles.title,
        first_articles.author,
        first_articles.article_url,

        stories.article_count,
        stories.outlet_count,
        stories.category_count,
        timestamp_diff(stories.last_seen_at, stories.first_seen_at, second) / 3600 as listed_hours,

        date(stories.published_at, 'Asia/Manila') as published_date_manila,
        extract(hour from stories.published_at at time zone 'Asia/Manila')
            as published_hour_manila,
        stories.published_at,
        stories.first_seen_at,
        stories.last_seen_at,
    from stories
    inner join first_articles on stories.normalised_url = first_articles.normalised_url
)

select * from final
