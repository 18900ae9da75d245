with

articles as (
    select * from {{ source('ph_news', 'articles') }}
),

renamed as (
    select
        article_id,
        _batch_id as batch_id,

        title_unescaped as title,
        description_unescaped as description,
        nullif(trim(author), '') as author,
        source as outlet,
        category,
        language as language_code,
        country as country_code,
        url as article_url,
        image as image_url,
        title as title_as_served,
        description as description_as_served,
        _extra as extra_json,

        coalesce(_is_deleted, false) as is_deleted,

        published_at,
        _first_seen_at as first_seen_at,
        _last_seen_at as last_seen_at,
        _inserted_at as inserted_at,
    from articles
),

final as (
    select * from renamed
)

select * from final
