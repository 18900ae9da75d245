with

stories as (
    select * from {{ ref('news_stories') }}
    where uncounted_reason is null
),

final as (
    select
        published_date_manila,
        source_site,
        category,
        count(*) as story_count,
        sum(article_count) as article_count,
        countif(article_count > 1) as repeated_story_count,
        count(author) as signed_story_count,
        min(published_at) as first_published_at,
        max(published_at) as last_published_at,
    from stories
    group by published_date_manila, source_site, category
)

select * from final
